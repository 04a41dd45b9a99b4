"""Convert the official Visual Genome files to COCO instances with attributes (``bua prepare-vg``)."""
