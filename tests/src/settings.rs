//! Changes the environment of deployed functions, for example to put a proxy between them and a
//! server.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::Environment;
use local_stack::stack::Stack;

/// The variables of a function.
///
/// # Errors
/// When there is no such function.
pub async fn of(stack: &Stack, function: &str) -> Result<HashMap<String, String>> {
    let configuration = Client::new(&stack.sdk_config())
        .get_function_configuration()
        .function_name(function)
        .send()
        .await
        .with_context(|| format!("read the settings of {function}"))?;
    let environment = configuration.environment;
    Ok(environment
        .and_then(|environment| environment.variables)
        .unwrap_or_default())
}

/// Sets variables of a function and leaves the others as the template sets them. The next
/// invocation starts a new process.
///
/// # Errors
/// When there is no such function.
pub async fn set(stack: &Stack, function: &str, variables: &[(&str, &str)]) -> Result<()> {
    let lambda = Client::new(&stack.sdk_config());
    let mut environment = of(stack, function).await?;
    for (name, value) in variables {
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    lambda
        .update_function_configuration()
        .function_name(function)
        .environment(
            Environment::builder()
                .set_variables(Some(environment))
                .build(),
        )
        .send()
        .await
        .with_context(|| format!("change the settings of {function}"))?;
    Ok(())
}
