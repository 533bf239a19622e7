"""What people look at: reports, run pages, pictures, times."""
