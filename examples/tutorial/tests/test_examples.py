# tests/test_examples.py
from app import servey_app

from servey.testing import define_test_class

TestExamples = define_test_class(servey_app)
