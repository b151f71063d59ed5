"""Prints a template as CloudFormation gets it: expanded by SAM's own translator, as JSON.

Intrinsic functions and conditions are not evaluated. Usage: expand.py TEMPLATE
"""

import json
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class NoManagedPolicies:
    """The templates name no managed policy of AWS's."""

    def load(self):
        return {}


with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())
functions = [
    resource
    for resource in template["Resources"].values()
    if resource["Type"] == "AWS::Serverless::Function"
]
for function in functions:
    # `sam deploy` uploads the code first; the translator accepts nothing else.
    function["Properties"]["CodeUri"] = "s3://bucket/key"
if "Transform" in template:
    template = transform(template, {}, NoManagedPolicies())
print(json.dumps(template))
