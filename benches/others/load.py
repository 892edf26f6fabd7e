"""load.py DATABASE URL FOLDER DISPOSITION: the whole database with dlt, by its fastest ways."""

import sys

import dlt
from dlt.sources.sql_database import sql_database

database, url, folder, disposition = sys.argv[1:]
# It insists on a password, also where the server asks for none.
url = url.replace("postgres://postgres@", "postgresql://postgres:unused@")
pipeline = dlt.pipeline(
    "agents", pipelines_dir=folder, destination=dlt.destinations.postgres(url), dataset_name="loaded"
)
# Primary keys are reflected; there is no column that tells in all tables what changed.
source = sql_database(f"sqlite:///{database}", backend="pyarrow", chunk_size=50_000)
pipeline.run(source, write_disposition=disposition, loader_file_format="parquet").raise_on_failed_jobs()
