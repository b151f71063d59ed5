//! The roles of deployed functions, as the local AWS has them.

use std::borrow::Cow;

use local_stack::ministack::Ministack;
use serde_json::Value;

use super::policy::Policy;

/// A function's role.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    /// Its own policies, and those that are attached to it.
    pub policies: Vec<Policy>,
}

impl Role {
    /// Reads the role of a function of this stack.
    ///
    /// # Panics
    /// When the local AWS has no such function, or does not answer.
    pub async fn of(aws: &Ministack, stack: &str, function: &str) -> Self {
        let sdk = aws.sdk_config();
        let lambda = aws_sdk_lambda::Client::new(&sdk);
        let configuration = lambda.get_function_configuration().function_name(function);
        let configuration = configuration.send().await.expect(function);
        let role = configuration.role.expect("a role");
        let role = role.rsplit('/').next().unwrap_or_default();
        let iam = aws_sdk_iam::Client::new(&sdk);
        let mut policies = Vec::new();
        let own = iam.list_role_policies().role_name(role).send().await;
        for name in own.expect(role).policy_names {
            let policy = iam.get_role_policy().role_name(role).policy_name(&name);
            let policy = policy.send().await.expect(&name);
            policies.push(Policy::parse(name, &document(&policy.policy_document)));
        }
        let attached = iam.list_attached_role_policies().role_name(role).send();
        for policy in attached.await.expect(role).attached_policies() {
            let arn = policy.policy_arn().expect("an ARN");
            let found = iam.get_policy().policy_arn(arn).send().await.expect(arn);
            let version = found.policy.and_then(|it| it.default_version_id);
            let version = version.expect("a version");
            let version = iam.get_policy_version().policy_arn(arn).version_id(version);
            let version = version.send().await.expect(arn).policy_version;
            let text = version.and_then(|it| it.document).expect("a document");
            let name = policy.policy_name().expect("a name");
            policies.push(Policy::parse(logical(name, stack), &document(&text)));
        }
        Self {
            name: role.to_owned(),
            policies,
        }
    }
}

/// CloudFormation names a policy `STACK-LOGICALNAME-RANDOM`.
fn logical<'n>(name: &'n str, stack: &str) -> &'n str {
    let end = name.strip_prefix(stack).unwrap_or(name);
    let middle = end.trim_start_matches('-').split('-').next();
    middle.unwrap_or(name)
}

/// IAM answers documents in percent-encoding.
fn document(text: &str) -> Value {
    let text = match text.starts_with('%') {
        true => {
            let pair = form_urlencoded::parse(text.as_bytes()).next();
            pair.map_or(Cow::default(), |(document, _)| document)
        }
        false => text.into(),
    };
    serde_json::from_str(&text).expect("a policy document")
}
