"""The settings of AWS."""

from pydantic import AliasChoices, AwareDatetime, Field

from servey.core.settings.group import SettingsGroup


class AwsSettings(SettingsGroup):
    """AWS: the deployment, and the services that an app uses there."""

    serverless_yml: str = Field(
        "serverless.yml",
        validation_alias=AliasChoices("SERVEY_SERVERLESS_YML", "MAIN_SERVERLESS_YML_FILE"),
        description="the file that `servey sls` maintains",
    )
    aws_router_for_all: bool = Field(
        True, description="one Lambda function for everything; 0 creates one function for each action"
    )
    aws_action: str | None = Field(None, description="the function's only action; a plain event is its parameters")
    aws_handler: str = Field("servey.aws.handler", description="the Lambda handler, as package.module.name")
    aws_authorizer: str | None = Field(
        None, description="the API Gateway authorizer whose claims are trusted, by its name"
    )
    aws_streaming: bool = Field(
        False,
        description="also create a function with a URL that streams responses, with `servey sls` and `servey package`",
    )
    appsync: bool = Field(False, description="also generate an AppSync API with `servey sls`")
    appsync_key_expires: AwareDatetime | None = Field(
        None, description="when that API's key expires, at most 365 days ahead; by default 7 days after it was created"
    )
    aws_domain: str | None = Field(None, description="the domain of the static site on CloudFront")
    aws_certificate_arn: str | None = Field(None, description="the certificate of that domain, in region us-east-1")
    kms_key_id: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_KMS_KEY_ID", "KMS_KEY_ID"),
        description="the ARN of the KMS key that signs tokens (RS256); add older keys after commas",
    )
    queue_url: str | None = Field(None, description="the SQS queue of jobs")
    dead_queue_url: str | None = Field(None, description="the SQS dead-letter queue of jobs")
    connection_table: str | None = Field(None, description="the DynamoDB table of websocket connections and job states")
    websocket_endpoint: str | None = Field(
        None, description="the API Gateway endpoint that sends messages to websocket connections"
    )
