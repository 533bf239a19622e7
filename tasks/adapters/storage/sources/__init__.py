"""What a source lists: the files of a folder or bucket, or what a list or an inventory says of them."""
