"""`ser review`: what of a night is worth a listen."""
