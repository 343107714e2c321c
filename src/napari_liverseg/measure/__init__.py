"""What masks say: agreement, lesions, volumes."""
