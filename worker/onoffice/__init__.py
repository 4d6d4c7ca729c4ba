"""The onOffice API as an adapter: what is signed (`sign`), what the codes mean (`codes`), what travels (`wire`, `headers`),
and how it travels (`client`, `deadline`). Decides nothing about retries and knows neither Redis nor Celery."""
