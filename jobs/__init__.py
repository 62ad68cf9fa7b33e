"""What a worker does: data, backbones, adapters, their arithmetic, training and evaluation."""
