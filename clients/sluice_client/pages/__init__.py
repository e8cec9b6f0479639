"""HTML pages of answers: Python prepares the facts, the Jinja2 templates in web/ hold all HTML."""
