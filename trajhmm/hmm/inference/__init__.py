"""What a Gaussian HMM says of rows under fixed parameters: densities, filter, smoother, likeliest path."""
