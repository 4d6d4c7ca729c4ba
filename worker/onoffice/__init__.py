"""The onOffice API as an adapter: error codes (`codes`), signed requests and answers as bytes
(`wire`, `headers`), and the HTTP client (`client`, `deadline`). Decides nothing about retries; knows neither
Redis nor Celery."""
