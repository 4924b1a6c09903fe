import pytest


@pytest.fixture
def model(countdown_model):
    return countdown_model


@pytest.fixture
def tokenizer(countdown_tokenizer):
    return countdown_tokenizer
