"""Building models, their devices, pretrained weights and cost."""
