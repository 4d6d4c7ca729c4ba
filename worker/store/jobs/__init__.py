"""Jobs: as they are stored, what happens to them, what people decide, and how they are shown. Pure."""
