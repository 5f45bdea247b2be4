"""Models on timm encoders: U-Net, Semantic FPN, DeepLabV3+, ResNet; and TransUNet."""
