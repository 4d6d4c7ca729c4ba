"""What must agree in the stored data of an account: how it is checked, and mended."""
