"""Serve a static site from a private bucket behind CloudFront, which forwards the app's own paths to the app.

Source: the AWS CloudFormation template reference; CloudFront developer guide, "Use managed cache policies".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from servey.app import Servey
from servey.sls.model import named

MOST_BEHAVIORS = 24
"""CloudFront's default quota, without the default behavior."""
_NO_CACHE = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
_CACHE = "658327ea-f89d-4fab-a63d-7e88639e58f6"
_ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"

# What `/sub/` and `/sub` mean on the server; a bucket only knows keys.
_INDEX = """function handler(event) {
  var request = event.request;
  // A browser may read such a path as another host.
  if (request.uri.includes('//') || /\\\\|%2f|%5c/i.test(request.uri)) {
    return { statusCode: 404, statusDescription: 'Not Found' };
  }
  if (request.uri.endsWith('/')) {
    request.uri += 'index.html';
  } else if (request.uri.lastIndexOf('.') <= request.uri.lastIndexOf('/')) {
    return { statusCode: 307, statusDescription: 'Temporary Redirect', headers: { location: { value: request.uri + '/' } } };
  }
  return request;
}
"""


def site_resources(app: Servey, problems: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the resources and outputs of the app's static site; both are empty if it has none."""
    settings = app.runtime.settings
    if not Path(settings.static_site_dir).is_dir():
        return {}, {}
    patterns = path_patterns(app)
    if len(patterns) > MOST_BEHAVIORS:
        problems.append(
            f"the app has routes under {len(patterns)} path prefixes ({', '.join(patterns[:3])}...); CloudFront supports "
            f"{MOST_BEHAVIORS} beside the static site; move some of them under one prefix, such as /actions/"
        )
    if bool(settings.aws_domain) != bool(settings.aws_certificate_arn):
        problems.append("SERVEY_AWS_DOMAIN and SERVEY_AWS_CERTIFICATE_ARN require each other; set both")
    distribution: dict[str, Any] = {
        "Enabled": True,
        "HttpVersion": "http2and3",
        "DefaultRootObject": "index.html",
        "Origins": [_bucket_origin(), _app_origin()],
        "DefaultCacheBehavior": {
            "TargetOriginId": "site",
            "ViewerProtocolPolicy": "redirect-to-https",
            "CachePolicyId": _CACHE,
            "Compress": True,
            "FunctionAssociations": [
                {"EventType": "viewer-request", "FunctionARN": {"Fn::GetAtt": ["ServeySiteIndex", "FunctionARN"]}}
            ],
        },
        "CacheBehaviors": [_behavior(pattern) for pattern in patterns],
    }
    if (Path(settings.static_site_dir) / "404.html").is_file():
        distribution["CustomErrorResponses"] = [
            {"ErrorCode": 403, "ResponseCode": 404, "ResponsePagePath": "/404.html", "ErrorCachingMinTTL": 10}
        ]
    if settings.aws_domain and settings.aws_certificate_arn:
        distribution["Aliases"] = [settings.aws_domain]
        distribution["ViewerCertificate"] = {
            "AcmCertificateArn": settings.aws_certificate_arn,
            "SslSupportMethod": "sni-only",
            "MinimumProtocolVersion": "TLSv1.2_2021",
        }
    outputs = {
        "SiteBucket": {"Value": {"Ref": "ServeySite"}, "Description": "aws s3 sync static_site s3://..."},
        "SiteAddress": {"Value": {"Fn::GetAtt": ["ServeySiteDistribution", "DomainName"]}},
    }
    return {
        "ServeySite": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {
                "BucketName": {"Fn::Sub": named("site") + "-${AWS::AccountId}"},
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
            },
        },
        "ServeySiteAccess": {
            "Type": "AWS::CloudFront::OriginAccessControl",
            "Properties": {
                "OriginAccessControlConfig": {
                    "Name": named("site"),
                    "OriginAccessControlOriginType": "s3",
                    "SigningBehavior": "always",
                    "SigningProtocol": "sigv4",
                }
            },
        },
        "ServeySiteDistribution": {
            "Type": "AWS::CloudFront::Distribution",
            "Properties": {"DistributionConfig": distribution},
        },
        "ServeySiteIndex": {
            "Type": "AWS::CloudFront::Function",
            "Properties": {
                "Name": named("site-index"),
                "AutoPublish": True,
                "FunctionCode": _INDEX,
                "FunctionConfig": {"Comment": "index.html for folders", "Runtime": "cloudfront-js-2.0"},
            },
        },
        "ServeySitePolicy": {"Type": "AWS::S3::BucketPolicy", "Properties": _bucket_policy()},
    }, outputs


def path_patterns(app: Servey) -> list[str]:
    """Return patterns for the app's own paths by their first segment: `/actions/*` for all paths under `/actions/`."""
    found: set[str] = set()
    for route in app.routes:
        path: str = getattr(route, "path", "")
        first, slash, _ = path.lstrip("/").partition("/")
        if first.startswith("{"):
            found.add("/*")
        elif first:
            found.add(f"/{first}/*" if slash else f"/{first}")
    return sorted(found, reverse=True)


def _bucket_origin() -> dict[str, Any]:
    return {
        "Id": "site",
        "DomainName": {"Fn::GetAtt": ["ServeySite", "RegionalDomainName"]},
        "OriginAccessControlId": {"Fn::GetAtt": ["ServeySiteAccess", "Id"]},
        "S3OriginConfig": {},
    }


def _app_origin() -> dict[str, Any]:
    return {
        "Id": "app",
        "DomainName": {"Fn::Sub": "${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"},
        "CustomOriginConfig": {"OriginProtocolPolicy": "https-only", "OriginSSLProtocols": ["TLSv1.2"]},
    }


def _behavior(pattern: str) -> dict[str, Any]:
    return {
        "PathPattern": pattern,
        "TargetOriginId": "app",
        "ViewerProtocolPolicy": "redirect-to-https",
        "AllowedMethods": ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"],
        "CachePolicyId": _NO_CACHE,
        "OriginRequestPolicyId": _ALL_BUT_HOST,
        "Compress": True,
    }


def _bucket_policy() -> dict[str, Any]:
    distribution = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${ServeySiteDistribution}"
    return {
        "Bucket": {"Ref": "ServeySite"},
        "PolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudfront.amazonaws.com"},
                    "Action": "s3:GetObject",
                    "Resource": {"Fn::Join": ["", [{"Fn::GetAtt": ["ServeySite", "Arn"]}, "/*"]]},
                    "Condition": {"StringEquals": {"AWS:SourceArn": {"Fn::Sub": distribution}}},
                }
            ],
        },
    }
