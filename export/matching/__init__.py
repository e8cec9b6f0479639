"""The network of Deep Template Matching. Read `network`, then `train`; `entry` holds its row in the exports' table."""
