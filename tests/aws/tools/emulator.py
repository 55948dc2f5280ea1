"""Start the AWS emulator on loopback, with the one resource type that it lacks.

osls writes an `AWS::ApiGatewayV2::Deployment` for a websocket API; the emulator has deployments, but not in its templates.
"""

import json
import sys
from typing import Any

from ministack.app import main
from ministack.services import apigateway
from ministack.services.cloudformation import provisioners


def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
    given = {name[0].lower() + name[1:]: value for name, value in properties.items() if name != "ApiId"}
    _, _, body = apigateway._create_deployment(properties["ApiId"], given)
    deployment_id = json.loads(body)["deploymentId"]
    return deployment_id, {"DeploymentId": deployment_id}


def delete(physical_id: str, properties: dict[str, Any]) -> None:
    apigateway._deployments.get(properties.get("ApiId", ""), {}).pop(physical_id, None)


provisioners._RESOURCE_HANDLERS.setdefault("AWS::ApiGatewayV2::Deployment", {"create": create, "delete": delete})
sys.argv = sys.argv[:1]
sys.exit(main())
