//! The CloudFormation templates as SAM expands them.

use std::process::Command;
use std::sync::LazyLock;

use local_stack::project;
use serde_json::Value;

/// A template after SAM's transform. Conditions are not evaluated.
pub(crate) struct Expanded {
    pub(crate) file: &'static str,
    template: Value,
}

/// One statement of a policy.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    /// The condition of the template under which the role has it.
    pub(crate) only_if: Option<&'a str>,
    pub(crate) value: &'a Value,
}

static SERVICE: LazyLock<Expanded> = LazyLock::new(|| Expanded::of("template.yaml"));
static REPLICAS: LazyLock<Expanded> = LazyLock::new(|| Expanded::of("replicas.yaml"));

/// The templates with functions.
pub(crate) fn templates() -> [&'static Expanded; 2] {
    [&SERVICE, &REPLICAS]
}

impl Expanded {
    fn of(file: &'static str) -> Self {
        let root = project::root();
        let output = Command::new(project::python_tool("python3").expect("run `make setup`"))
            .arg(root.join("tests/tests/docs/expand.py"))
            .arg(root.join(file))
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .output()
            .expect("expand.py runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}: {error}");
        let template = serde_json::from_slice(&output.stdout).expect(file);
        Self { file, template }
    }

    pub(crate) fn description(&self) -> &str {
        self.template["Description"].as_str().expect("Description")
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&Value> {
        self.template["Parameters"].get(name)
    }

    /// A condition of the template, as it is written.
    pub(crate) fn condition(&self, name: &str) -> &Value {
        &self.template["Conditions"][name]
    }

    /// The properties of every resource of a type, by the resource's name.
    pub(crate) fn properties(&self, kind: &str) -> Vec<(&str, &Value)> {
        let resources = self.template["Resources"].as_object().expect("Resources");
        let of_kind = resources.iter().filter(|(_, it)| it["Type"] == kind);
        of_kind
            .map(|(name, it)| (name.as_str(), &it["Properties"]))
            .collect()
    }

    /// The condition of the template under which a resource exists; none if it always does.
    pub(crate) fn condition_of(&self, resource: &str) -> Option<&str> {
        self.template["Resources"][resource]["Condition"].as_str()
    }

    pub(crate) fn functions(&self) -> Vec<(&str, &Value)> {
        self.properties("AWS::Lambda::Function")
    }

    /// The statements of a role's own policies, and of those that are attached to it.
    pub(crate) fn statements(&self, role: &str) -> Vec<Statement<'_>> {
        let resource = |name: &str| &self.template["Resources"][name]["Properties"];
        let own = resource(role)["Policies"].as_array().into_iter().flatten();
        let attached = resource(role)["ManagedPolicyArns"].as_array();
        let attached = attached.into_iter().flatten().filter_map(|it| {
            let chosen = it.get("Fn::If").map_or(it, |choice| &choice[1]);
            chosen["Ref"].as_str().map(resource)
        });
        let statements = own
            .chain(attached)
            .flat_map(|it| it["PolicyDocument"]["Statement"].as_array());
        statements.flatten().map(statement).collect()
    }

    /// The statement with this id. A role without it is a failure.
    pub(crate) fn statement(&self, role: &str, sid: &str) -> Statement<'_> {
        let mut all = self.statements(role).into_iter();
        all.find(|it| it.value["Sid"] == sid)
            .unwrap_or_else(|| panic!("{}: {role} has no statement {sid}", self.file))
    }

    /// Every text in the resources.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        collect_texts(&self.template["Resources"], &mut texts);
        texts
    }
}

fn statement(value: &Value) -> Statement<'_> {
    match value.get("Fn::If").and_then(Value::as_array) {
        Some(choice) => Statement {
            only_if: choice[0].as_str(),
            value: &choice[1],
        },
        None => Statement {
            only_if: None,
            value,
        },
    }
}

fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(fields) => fields.values().for_each(|it| collect_texts(it, texts)),
        _ => {}
    }
}
