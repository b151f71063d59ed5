"""Starts ministack, the local AWS, with rules of the real AWS that ministack lacks.

Without them, a template or a test could rest on what the real AWS refuses or changes:

- a function URL renames the header `WWW-Authenticate` of an answer;
- a function's name has at most 64 characters;
- all environment variables of a function together have at most 4 KB;
- a condition of a template may join a list;
- the condition key dynamodb:LeadingKeys has the partition keys of a request.

It also records which calls the functions' roles are asked for, for the test that compares them with the
policies: each distinct one is a line of JSON in the file that SCALING_IAM_CALLS names.

They wrap functions of ministack, whose version is pinned in local/requirements.txt. A function that
a newer version no longer has ends this program at its start.
"""

import json
import os
import sys

from ministack.app import main
from ministack.core import iam_actions, iam_evaluator
from ministack.services import lambda_svc, sts
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

# Lambda's API reference, CreateFunction: "it is limited to 64 characters in length".
LONGEST_NAME = 64

# Lambda's quotas: "4 KB, for all environment variables associated with the function, in aggregate".
# Lambda's error message shows what it measures: the variables as one JSON object.
LARGEST_ENVIRONMENT = 4096

# The partition key of the service's table.
PARTITION_KEY = "pk"

# The condition key with the partition keys of a request to DynamoDB.
LEADING_KEYS = "dynamodb:LeadingKeys"

# What a function URL puts into an answer in place of the header.
REMAPPED = "x-amzn-Remapped-www-authenticate"


def problem(name, environment):
    """What Lambda refuses about a function; None if there is nothing."""
    if len(name) > LONGEST_NAME:
        return (
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy "
            f"constraint: Member must have length less than or equal to {LONGEST_NAME}"
        )
    variables = (environment or {}).get("Variables") or {}
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > LARGEST_ENVIRONMENT:
        # The real message ends with the variables themselves.
        return (
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided exceeded the 4KB limit."
        )
    return None


def refusing_in_a_stack(provision):
    """CloudFormation's create and update: the problem fails the resource."""

    def checked(first, *rest, **named):
        # create(logical id, properties, …); update(physical id, old properties, new ones, …)
        properties = rest[1] if isinstance(rest[1], dict) else rest[0]
        name = properties.get("FunctionName") or ""
        if found := problem(name, properties.get("Environment")):
            raise ValueError(found)
        return provision(first, *rest, **named)

    return checked


def refusing_in_the_api(operation, name_of):
    """Lambda's own create and update."""

    def checked(*arguments):
        name, data = name_of(*arguments)
        if found := problem(name, data.get("Environment")):
            code = "InvalidParameterValueException"
            return lambda_svc.error_response_json(code, found, 400)
        return operation(*arguments)

    return checked


def renaming_challenges(shape_answer):
    """The shape of a function URL's answer."""

    def shaped(*arguments):
        status, headers, body = shape_answer(*arguments)
        renamed = {
            REMAPPED if name.lower() == "www-authenticate" else name: value
            for name, value in headers.items()
        }
        return status, renamed, body

    return shaped


def recording(enforce, path):
    """The check of each call against the caller's policies."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    seen = set()

    def recorded(access_key, action, service, region, resource_arn="*", service_context=None):
        # Only roles have sessions; tools and tests use the account's own key.
        if session := sts._sessions.get(access_key):
            line = json.dumps(
                {
                    "access_key": access_key,
                    "principal": session.get("Arn"),
                    "action": action,
                    "resource": resource_arn,
                    "leading_keys": (service_context or {}).get(LEADING_KEYS, []),
                }
            )
            if line not in seen:
                seen.add(line)
                with open(path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
        return enforce(access_key, action, service, region, resource_arn, service_context)

    return recorded


def leading_keys(body):
    """The partition keys that a request to DynamoDB names, of single items and of queries."""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return []
    requests = [request]
    for item in request.get("TransactItems") or []:
        requests.extend(item.values())
    keys = set()
    for each in requests:
        key = (each.get("Key") or each.get("Item") or {}).get(PARTITION_KEY)
        values = each.get("ExpressionAttributeValues") or {}
        if "KeyConditionExpression" in each:
            # As this service writes it: "pk = :pk", and more.
            key = values.get(f":{PARTITION_KEY}")
        if key:
            keys.add(key["S"])
    return sorted(keys)


def with_leading_keys(context):
    """The condition keys of a request to DynamoDB."""

    def extended(body):
        keys = leading_keys(body)
        return {**context(body), **({LEADING_KEYS: keys} if keys else {})}

    return extended


def joining_lists(evaluate):
    """The conditions of a template: in ministack, a join is never equal to a text."""

    def joined(value, params):
        if isinstance(value, list):
            return [joined(item, params) for item in value]
        if not isinstance(value, dict):
            return value
        if "Fn::Join" in value:
            delimiter, items = value["Fn::Join"]
            # A list parameter's value is one text with commas.
            texts = params[items["Ref"]]["Value"].split(",") if "Ref" in items else items
            return delimiter.join(text.strip() for text in texts)
        return {key: joined(item, params) for key, item in value.items()}

    def evaluated(template, params):
        conditions = joined(template.get("Conditions", {}), params)
        return evaluate({**template, "Conditions": conditions}, params)

    return evaluated


def apply_rules():
    # Functions inherit the environment: they get only what the real AWS sets.
    if path := os.environ.pop("SCALING_IAM_CALLS", None):
        iam_evaluator.enforce = recording(iam_evaluator.enforce, path)
    iam_actions.dynamodb_service_context = with_leading_keys(iam_actions.dynamodb_service_context)
    for module in (changesets, engine, handlers, stacks):
        module._evaluate_conditions = joining_lists(module._evaluate_conditions)
    lambda_svc._function_url_proxy_response = renaming_challenges(
        lambda_svc._function_url_proxy_response
    )
    lambda_svc._create_function = refusing_in_the_api(
        lambda_svc._create_function, lambda data: (data.get("FunctionName") or "", data)
    )
    lambda_svc._update_config = refusing_in_the_api(
        lambda_svc._update_config, lambda name, data: (name, data)
    )
    functions = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    for action in ("create", "update"):
        functions[action] = refusing_in_a_stack(functions[action])


if __name__ == "__main__":
    apply_rules()
    sys.exit(main())
