"""Operations: command line, doctor, explaining, demo, benches, and the simulator of the API."""
