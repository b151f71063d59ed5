//! The options of a stack, on the command line and in tests.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::ec2::Ec2Options;
use crate::ministack::REGION;
use crate::project;
use crate::world::World;

/// The name of the default stack. Its file of variables is `.local/env`.
pub const DEFAULT_NAME: &str = "default";

/// The longest name of a stack. The CloudFormation stack's is 8 characters longer, and may have 42:
/// `docs/deploy.md`.
pub const LONGEST_NAME: usize = 34;

/// Selects a stack.
#[derive(Args, Clone, Debug)]
pub struct StackChoice {
    /// The stack's name; each stack has its own folder, ports and data
    #[arg(long, default_value = DEFAULT_NAME, value_parser = parse_name)]
    pub name: String,
    /// The stack's folder [default: .local/stacks/NAME]
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

impl StackChoice {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: None,
        }
    }

    pub fn dir(&self) -> PathBuf {
        let default = || project::local().join("stacks").join(&self.name);
        self.dir.clone().unwrap_or_else(default)
    }

    /// The file with the running stack's addresses and secrets, as shell variables.
    pub fn env_path(&self) -> PathBuf {
        if self.name == DEFAULT_NAME && self.dir.is_none() {
            project::local().join("env")
        } else {
            self.dir().join("env")
        }
    }
}

/// The name becomes a part of the folder's path and of the CloudFormation stack's name.
pub(crate) fn parse_name(name: &str) -> Result<String, String> {
    let letters_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if letters_first && plain && name.len() <= LONGEST_NAME {
        return Ok(name.to_owned());
    }
    Err(format!(
        "use a letter, then letters, digits and hyphens, at most {LONGEST_NAME} characters"
    ))
}

/// Whether the schedule runs a pass for every region each minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    #[default]
    On,
    Off,
}

/// How a stack is started.
#[derive(Args, Clone, Debug)]
pub struct StackOptions {
    #[command(flatten)]
    pub stack: StackChoice,
    /// The first of seven consecutive ports [default: free ports]
    #[arg(long, value_name = "PORT")]
    pub ports_from: Option<u16>,
    /// Whether a reconcile pass runs every minute
    #[arg(long, value_enum, default_value_t)]
    pub schedule: Schedule,
    /// Sets a parameter of template.yaml, such as SessionsPerUser=5; MaxWaitSeconds is 20 here
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    pub parameters: Vec<(String, String)>,
    /// The regions whose EC2 events are forwarded to the home region, separated by commas;
    /// without a value, none [default: all other regions of the
    /// EC2 emulator]
    #[arg(
        long,
        value_name = "REGIONS",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ','
    )]
    pub forward_from: Option<Vec<String>>,
    #[command(flatten)]
    pub ec2: Ec2Options,
}

impl StackOptions {
    pub fn named(name: &str) -> Self {
        Self {
            stack: StackChoice::named(name),
            ports_from: None,
            schedule: Schedule::default(),
            parameters: Vec::new(),
            forward_from: None,
            ec2: Ec2Options::default(),
        }
    }

    /// The regions whose EC2 events are forwarded to the home region: the chosen ones, or all
    /// others of the EC2 world.
    ///
    /// # Errors
    /// When the EC2 world cannot be read, or has no such region.
    pub(crate) fn forwarded_regions(&self) -> Result<Vec<String>> {
        let world = World::read(self.ec2.world.as_deref())?;
        let Some(chosen) = &self.forward_from else {
            let others = world.regions().filter(|region| *region != REGION);
            return Ok(others.map(str::to_owned).collect());
        };
        for region in chosen {
            world.region(region)?;
        }
        Ok(chosen.clone())
    }
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn stack_name_that_is_not_a_plain_word_is_rejected() {
        let too_long = "a".repeat(LONGEST_NAME + 1);
        for name in ["", "../up", "1st", "a b", "a/b", &too_long] {
            assert!(parse_name(name).is_err(), "{name:?}");
        }
        assert_eq!(parse_name("e2e-1").as_deref(), Ok("e2e-1"));
    }

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: StackOptions,
    }

    fn forwarded(args: &[&str]) -> Result<Vec<String>> {
        let args = ["up"].iter().chain(args);
        Command::try_parse_from(args)?.options.forwarded_regions()
    }

    #[test]
    fn events_are_forwarded_from_all_other_regions_by_default() {
        assert_eq!(
            forwarded(&[]).unwrap(),
            ["eu-west-1", "us-west-1", "us-west-2"]
        );
        assert_eq!(
            forwarded(&["--forward-from=us-west-2,eu-west-1"]).unwrap(),
            ["us-west-2", "eu-west-1"]
        );
        assert_eq!(
            forwarded(&["--forward-from"]).unwrap(),
            Vec::<String>::new()
        );
        let error = forwarded(&["--forward-from=eu-wets-1"]).unwrap_err();
        assert!(error.to_string().contains("no region eu-wets-1"), "{error}");
    }

    #[test]
    fn default_stack_alone_has_its_env_file_at_the_top() {
        assert_eq!(
            StackChoice::named(DEFAULT_NAME).env_path(),
            project::local().join("env")
        );
        let other = StackChoice::named("other");
        assert_eq!(other.env_path(), other.dir().join("env"));
    }
}
