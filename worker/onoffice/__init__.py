"""The onOffice API as an adapter: signatures (`sign`), error codes (`codes`), requests and answers as bytes
(`wire`, `headers`), and the HTTP client (`client`, `deadline`). Decides nothing about retries; knows neither
Redis nor Celery."""
