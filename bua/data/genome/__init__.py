"""From the official files of Visual Genome to COCO instances with attributes (``bua genome``)."""
