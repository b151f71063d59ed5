//! Settings as a test writes them down.

use std::collections::HashMap;

use crate::config::Environment;

impl Environment for HashMap<&'static str, &'static str> {
    fn get(&self, name: &'static str) -> Option<String> {
        HashMap::get(self, name).map(ToString::to_string)
    }
}
