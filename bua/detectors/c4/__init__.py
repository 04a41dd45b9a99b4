"""The Visual Genome detector of Anderson et al. 2018: ResNet-101 C4 Faster R-CNN with attributes."""
