"""Generate an AppSync API for an app: the schema, and one Lambda resolver for each field that is an action.

Each field invokes the function once, or once per batch if the action has a batch invoker. The function verifies the token
in the request's ``Authorization`` header itself.
Source: AppSync developer guide ("Scalar types", "JavaScript resolvers for Lambda"), CloudFormation template reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from servey.app import Servey
from servey.aws.dispatch import UNGUARDED
from servey.core.errors import ConfigError
from servey.graphql.schema.fields import Fields, fields_of
from servey.graphql.schema.shapes import EnumOf, Field, Leaf, ListOf, Member, ObjectOf, Place, Shape, UnionOf
from servey.http.guarded import has_guards
from servey.sls.iam import CALL_FUNCTION, service_role
from servey.sls.model import MAIN_FUNCTION, arn_of, named
from servey.sls.resources import function_id

LARGEST_BATCH = 2000
"""Source: CloudFormation template reference, AWS::AppSync::Resolver, MaxBatchSize."""
_SCALARS = {
    "BigInt": "String", "Date": "AWSDate", "DateTime": "AWSDateTime", "Decimal": "String", "Duration": "String",
    "JSON": "AWSJSON", "Time": "AWSTime", "UUID": "ID", "Void": "AWSJSON",
}  # fmt: skip
"""GraphQL scalars of Servey and the AppSync scalars that replace them. AppSync allows no custom scalars."""
_PAYLOAD = """\
{
    arguments: ctx.args,
    source: ctx.source,
    request: { headers: ctx.request.headers },
    info: { parentTypeName: ctx.info.parentTypeName, fieldName: ctx.info.fieldName },
  }"""
_ONE = f"""\
import {{ util }} from '@aws-appsync/utils';
export function request(ctx) {{
  return {{ operation: 'Invoke', payload: {_PAYLOAD} }};
}}
export function response(ctx) {{
  if (ctx.error) {{
    util.error(ctx.error.message, ctx.error.type);
  }}
  return ctx.result;
}}
"""
_BATCH = f"""\
import {{ util }} from '@aws-appsync/utils';
export function request(ctx) {{
  return {{ operation: 'BatchInvoke', payload: {_PAYLOAD} }};
}}
export function response(ctx) {{
  if (ctx.error) {{
    util.error(ctx.error.message, ctx.error.type);
  }}
  if (ctx.result.errorMessage) {{
    util.error(ctx.result.errorMessage, ctx.result.errorType);
  }}
  return ctx.result.data;
}}
"""


def appsync_resources(app: Servey, problems: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the resources and outputs of the API; both are empty unless the ``appsync`` setting is on."""
    if not app.runtime.settings.appsync:
        return {}, {}
    try:
        fields = fields_of(app.runtime)
    except ConfigError as error:
        problems += error.problems
        return {}, {}
    if has_guards(app):
        problems.append(f"AppSync: {UNGUARDED}")
    if not fields.queries:
        problems.append("AppSync requires at least one query, but no action has a GET trigger; add one to an action")
    api_id = {"Fn::GetAtt": ["ServeyAppsync", "ApiId"]}
    made: dict[str, Any] = {
        "ServeyAppsync": {
            "Type": "AWS::AppSync::GraphQLApi",
            "Properties": {"Name": named("graphql"), "AuthenticationType": "API_KEY"},
        },
        "ServeyAppsyncKey": {"Type": "AWS::AppSync::ApiKey", "Properties": _key(app, api_id)},
        "ServeyAppsyncSchema": {
            "Type": "AWS::AppSync::GraphQLSchema",
            "Properties": {"ApiId": api_id, "Definition": schema_text(fields)},
        },
        "ServeyAppsyncSource": {
            "Type": "AWS::AppSync::DataSource",
            "Properties": {
                "ApiId": api_id,
                "Name": "servey",
                "Type": "AWS_LAMBDA",
                "ServiceRoleArn": arn_of("ServeyAppsyncRole"),
                "LambdaConfig": {"LambdaFunctionArn": arn_of(function_id(MAIN_FUNCTION))},
            },
        },
        "ServeyAppsyncRole": service_role([CALL_FUNCTION], "appsync.amazonaws.com", named("appsync")),
    }
    for parent, each in _resolved(fields):
        made[f"ServeyAppsync{parent}{each.name[:1].upper()}{each.name[1:]}"] = _resolver(api_id, parent, each)
    return made, {"ServeyAppsyncUrl": {"Value": {"Fn::GetAtt": ["ServeyAppsync", "GraphQLUrl"]}}}


def _key(app: Servey, api_id: dict[str, Any]) -> dict[str, Any]:
    expires = app.runtime.settings.appsync_key_expires
    return {"ApiId": api_id} if expires is None else {"ApiId": api_id, "Expires": int(expires.timestamp())}


def _resolver(api_id: dict[str, Any], parent: str, each: Field) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "ApiId": api_id,
        "TypeName": parent,
        "FieldName": each.name,
        "DataSourceName": {"Fn::GetAtt": ["ServeyAppsyncSource", "Name"]},
        "Runtime": {"Name": "APPSYNC_JS", "RuntimeVersion": "1.0.0"},
        "Code": _ONE,
    }
    if each.action.batch_invoker is not None:
        properties["MaxBatchSize"] = min(each.action.batch_invoker.max_batch_size, LARGEST_BATCH)
        properties["Code"] = _BATCH
    return {"Type": "AWS::AppSync::Resolver", "DependsOn": "ServeyAppsyncSchema", "Properties": properties}


# ---------------------------------------------------------------------------------------------------------- the schema


def schema_text(fields: Fields) -> str:
    """Return the schema of an app's queries and mutations as AppSync accepts it: AWS scalars, AWSJSON for a union, no
    descriptions, no directives. An argument with a default is optional; the function applies the default.
    """
    roots = [("Query", fields.queries), ("Mutation", fields.mutations)]
    blocks = [_block("type", name, map(_action_line, root.values())) for name, root in roots if root]
    found = _shapes(fields)
    for (is_input, name), shape in sorted(found.items(), key=lambda each: each[0][1]):
        if isinstance(shape, EnumOf):
            blocks.append(_block("enum", name, shape.members))
        elif is_input:
            blocks.append(_block("input", name, map(_input_line, shape.members.values())))
        else:
            lines = [f"{member.name}: {_type_of(member.place)}" for member in shape.members.values()]
            blocks.append(_block("type", name, [*lines, *map(_action_line, _methods(shape))]))
    return "\n".join(blocks)


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    inner = "".join(f"  {line}\n" for line in sorted(lines))
    return f"{kind} {name} {{\n{inner}}}\n"


def _action_line(each: Field) -> str:
    arguments = ", ".join(map(_input_line, sorted(each.arguments.values(), key=lambda member: member.name)))
    return f"{each.name}{f'({arguments})' if arguments else ''}: {_type_of(each.place)}"


def _input_line(member: Member) -> str:
    written = _type_of(member.place)
    return f"{member.name}: {written if member.required else written.removesuffix('!')}"


def _type_of(place: Place) -> str:
    shape = place.shape
    if isinstance(shape, Leaf):
        written = _SCALARS.get(shape.scalar, shape.scalar)
    elif isinstance(shape, ListOf):
        written = f"[{_type_of(shape.item)}]"
    else:
        written = "AWSJSON" if isinstance(shape, UnionOf) else shape.name
    is_void = isinstance(shape, Leaf) and shape.scalar == "Void"
    return written if place.nullable or is_void else f"{written}!"


def _methods(shape: ObjectOf) -> list[Field]:
    """Return the actions of an object's class; none for a generic class, whose GraphQL types have other names."""
    return [each for each in shape.actions.values() if str(each.action.class_name).rpartition(".")[2] == shape.name]


def _resolved(fields: Fields) -> Iterator[tuple[str, Field]]:
    """Yield every field that invokes the function, with the name of its parent type."""
    for name, root in (("Query", fields.queries), ("Mutation", fields.mutations)):
        for each in root.values():
            yield name, each
    for (is_input, name), shape in sorted(_shapes(fields).items(), key=lambda each: each[0][1]):
        if isinstance(shape, ObjectOf) and not is_input:
            for each in _methods(shape):
                yield name, each


def _shapes(fields: Fields) -> dict[tuple[bool, str], EnumOf | ObjectOf]:
    """Return the enums and objects that queries and mutations use. Keys: whether it is an input type, and its name."""
    found: dict[tuple[bool, str], EnumOf | ObjectOf] = {}

    def take(shape: Shape, is_input: bool) -> None:
        if isinstance(shape, ListOf):
            take(shape.item.shape, is_input)
        elif isinstance(shape, EnumOf):
            found[False, shape.name] = shape
        elif isinstance(shape, ObjectOf) and (is_input, shape.name) not in found:
            found[is_input, shape.name] = shape
            for member in shape.members.values():
                take(member.place.shape, is_input)
            for each in () if is_input else _methods(shape):
                take_field(each)

    def take_field(each: Field) -> None:
        for member in each.arguments.values():
            take(member.place.shape, True)
        take(each.place.shape, False)

    for each in (*fields.queries.values(), *fields.mutations.values()):
        take_field(each)
    return found
