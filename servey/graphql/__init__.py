"""GraphQL: each action with a web trigger is a root field; each action on a method of a returned type is a nested field.

Importing this package is cheap. Strawberry is imported on the first request, or when the schema is printed.
"""

from servey.graphql.schema.shapes import ID as ID
from servey.graphql.schema.shapes import BigInt as BigInt
