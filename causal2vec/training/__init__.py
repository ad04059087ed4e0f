"""From pairs to a trained model: the training mix, contrastive training, masked-next-token pre-training."""
