"""What the HTTP intake is measured beside; uvicorn serves each by its name as the intake is served."""
