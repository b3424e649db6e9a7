"""What happens to files, disks, processes and machines; one module a kind."""
