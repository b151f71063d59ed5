//! Parameters of the CloudFormation templates.

use std::collections::BTreeMap;
use std::fs;

use local_stack::project;
use scaling_tests::markdown::Page;

use crate::settings::documented_defaults;

/// The parameters of a template with their defaults, as `docs/settings.md` writes them.
fn parameters(template: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(project::root().join(template)).expect(template);
    let section = text
        .lines()
        .skip_while(|line| *line != "Parameters:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '));
    let mut parameters = BTreeMap::new();
    let mut last = String::new();
    for line in section {
        let name = line
            .strip_prefix("  ")
            .and_then(|line| line.strip_suffix(':'));
        if let Some(name) = name.filter(|name| !name.starts_with(' ')) {
            name.clone_into(&mut last);
            parameters.insert(last.clone(), "required".to_owned());
        } else if let Some(value) = line.strip_prefix("    Default:") {
            let value = match value.trim().trim_matches(['"', '\'']) {
                "" => "none".to_owned(),
                value => format!("`{value}`"),
            };
            parameters.insert(last.clone(), value);
        }
    }
    parameters
}

#[test]
fn parameters_in_the_documentation_match_the_templates() {
    let page = Page::read("docs/settings.md");
    for template in ["template.yaml", "replicas.yaml", "forward-events.yaml"] {
        let documented =
            documented_defaults(&page, &format!("Parameters of {template}"), "parameter");
        assert_eq!(documented, parameters(template), "{template}");
    }
}
