from tests.object_stores import bucket, gs, s3  # noqa: F401
