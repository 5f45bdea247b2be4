"""Models on timm encoders: ResNet-50 U-Net, Semantic FPN, DeepLabV3+, TransUNet. Nothing is offered here yet."""
