"""U-Net and its variants."""
