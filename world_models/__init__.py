"""Object-centric world models in PyTorch: slots, C-JEPA dynamics, causal influence, rewards, imagination."""
