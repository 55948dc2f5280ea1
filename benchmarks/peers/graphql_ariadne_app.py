"""The same for Ariadne, with its defaults; from a virtual environment of its own."""

from ariadne import ObjectType, QueryType, ScalarType, make_executable_schema
from ariadne.asgi import GraphQL

from benchmarks.peers import graphql_model as model

SCHEMA = """
scalar DateTime
type Person { id: Int! name: String! email: String! isActive: Boolean! since: DateTime! points: Int! label: String! }
type Query { hello(name: String!): String! welcome(name: String!): String! people(count: Int!, first: Int!): [Person!]! }
"""
query, person, moment = QueryType(), ObjectType("Person"), ScalarType("DateTime")


@query.field("hello")
async def hello(*_, name: str) -> str:
    return f"Hello {name}!"


@query.field("welcome")
async def welcome(*_, name: str) -> str:
    return f"{await model.greeting()} {name}!"


@query.field("people")
async def people(*_, count: int, first: int) -> list[model.Person]:
    return model.people(count, first)


@person.field("points")
async def points(each: model.Person, *_) -> int:
    return each.id * 2


@person.field("label")
async def label(each: model.Person, *_) -> str:
    return f"{each.name} <{each.email}>"


@moment.serializer
def written(value) -> str:
    return value.isoformat()


_app = GraphQL(make_executable_schema(SCHEMA, query, person, moment, convert_names_case=True))


async def app(scope, receive, send) -> None:
    await _app({**scope, "path": "/"}, receive, send)
