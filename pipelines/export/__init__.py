"""`ser export`: calls for other programs, read through the views."""
