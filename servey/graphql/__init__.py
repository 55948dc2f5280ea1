"""GraphQL: every action with a web trigger is a field, and so is every action that is a method of a returned type.

What is here costs nothing to import; Strawberry is imported with the first request, or when the schema is asked for.
"""

from servey.graphql.shapes import BigInt as BigInt
