"""Reads and writes files: lists of images, COCO, Label Studio, saved results, latents, each whole or not at all."""
