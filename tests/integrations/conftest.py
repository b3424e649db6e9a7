"""What the tests of this room share."""


def pytest_ignore_collect(collection_path, config):
    """Transformers takes seconds to import: where nothing that runs once is asked for, its tests are not looked at."""
    named = any("test_huggingface" in argument for argument in config.args)
    if collection_path.name.startswith("test_huggingface") and "not once" in config.option.markexpr and not named:
        return True
    return None
