//! Reads the documentation's Markdown, as far as the tests of the documentation need it: links,
//! anchors, tables, and code in blocks and lines.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use local_stack::project;

/// One page of the documentation.
#[derive(Clone, Debug)]
pub struct Page {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    /// From 1.
    number: usize,
    text: String,
    /// The language of the code block that the line is in; empty if the block names none.
    block: Option<String>,
}

/// A piece of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// From 1.
    pub line: usize,
    pub text: String,
}

impl Page {
    /// Reads a page by its path in the repository.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let file = project::root().join(&path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        Self::parse(path, &text)
    }

    /// The README, the other pages at the root, and every page below `docs/`.
    pub fn all() -> Vec<Self> {
        let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
            .map(PathBuf::from)
            .into();
        collect_pages(Path::new("docs"), &mut paths);
        paths.into_iter().map(Self::read).collect()
    }

    /// All of it, with each line's end as one space.
    pub fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.text.as_str());
        lines.collect::<Vec<_>>().join(" ")
    }

    fn parse(path: PathBuf, text: &str) -> Self {
        let mut block: Option<String> = None;
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                block = match block {
                    Some(_) => None,
                    None => Some(language.trim().to_owned()),
                };
                continue;
            }
            lines.push(Line {
                number,
                text: line.to_owned(),
                block: block.clone(),
            });
        }
        Self { path, lines }
    }

    fn prose(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.block.is_none())
    }

    /// The lines of all code blocks in this language.
    pub fn code_lines(&self, language: &str) -> Vec<Found> {
        let lines = self.lines.iter();
        let lines = lines.filter(|line| line.block.as_deref() == Some(language));
        lines
            .map(|line| Found {
                line: line.number,
                text: line.text.clone(),
            })
            .collect()
    }

    /// The texts between backticks.
    pub fn inline_code(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for line in self.prose() {
            let mut rest = line.text.as_str();
            while let Some(start) = rest.find('`') {
                let ticks = rest[start..].chars().take_while(|c| *c == '`').count();
                let fence = "`".repeat(ticks);
                let after = &rest[start + ticks..];
                let Some(end) = after.find(&fence) else { break };
                found.push(Found {
                    line: line.number,
                    text: after[..end].trim().to_owned(),
                });
                rest = &after[end + ticks..];
            }
        }
        found
    }

    /// The targets of links and images.
    pub fn links(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for line in self.prose() {
            let text = without_code(&line.text);
            for (_, rest) in text
                .match_indices("](")
                .map(|(at, _)| text.split_at(at + 2))
            {
                if let Some((target, _)) = rest.split_once(')') {
                    found.push(Found {
                        line: line.number,
                        text: target.to_owned(),
                    });
                }
            }
        }
        found
    }

    /// The anchors of the headings, by GitHub's rules: lower case, spaces become hyphens, other
    /// punctuation is dropped, and a repeated anchor gets a number.
    pub fn anchors(&self) -> Vec<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let headings = self.prose().filter_map(|line| heading(&line.text));
        headings
            .map(|heading| {
                let anchor = anchor(&heading);
                let times = seen.entry(anchor.clone()).or_default();
                *times += 1;
                match *times {
                    1 => anchor,
                    repeated => format!("{anchor}-{}", repeated - 1),
                }
            })
            .collect()
    }

    /// The first table below a heading: for each row, its cells by their column's title.
    ///
    /// # Panics
    /// When there is no such heading, or no table before the next heading.
    pub fn table(&self, title: &str) -> Vec<BTreeMap<String, String>> {
        let below = self
            .prose()
            .skip_while(|line| heading(&line.text).as_deref() != Some(title))
            .skip(1);
        let section = below.take_while(|line| heading(&line.text).is_none());
        let mut rows = section
            .skip_while(|line| !line.text.starts_with('|'))
            .take_while(|line| line.text.starts_with('|'))
            .map(|line| cells(&line.text));
        let Some(titles) = rows.next() else {
            panic!(
                "{}: no table below the heading {title:?}",
                self.path.display()
            );
        };
        // The second line separates titles and rows.
        rows.skip(1)
            .map(|row| titles.iter().cloned().zip(row).collect())
            .collect()
    }
}

fn collect_pages(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(project::root().join(folder)).expect("the folder of the pages");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    for name in names {
        let path = folder.join(name);
        if project::root().join(&path).is_dir() {
            collect_pages(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

/// A heading's text with its Markdown.
fn heading(line: &str) -> Option<String> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let text = text.strip_prefix(' ')?;
    (1..=6).contains(&level).then(|| text.trim().to_owned())
}

fn anchor(heading: &str) -> String {
    let visible = without_targets(heading);
    let kept = visible
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .flat_map(char::to_lowercase)
        .collect()
}

/// `[text](target)` as `text`.
fn without_targets(text: &str) -> String {
    let mut visible = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        visible.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    visible.push_str(rest);
    visible
}

/// The line with everything between backticks replaced by spaces.
fn without_code(line: &str) -> String {
    let mut is_code = false;
    line.chars()
        .map(|c| {
            if c == '`' {
                is_code = !is_code;
            }
            if is_code && c != '`' { ' ' } else { c }
        })
        .collect()
}

fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_matches('|');
    // A `\|` belongs to its cell.
    row.replace("\\|", "\u{0}")
        .split('|')
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

/// The text of a cell that is code and nothing else.
pub fn code_of(cell: &str) -> Option<&str> {
    let code = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!code.contains('`')).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::parse("page.md".into(), text)
    }

    #[test]
    fn anchors_follow_githubs_rules() {
        let page =
            page("# A *new* page\n## `regions`: what's in it?\n### [See](x.md) it\n## B\n# B\n");
        assert_eq!(
            page.anchors(),
            ["a-new-page", "regions-whats-in-it", "see-it", "b", "b-1"]
        );
    }

    #[test]
    fn links_in_code_are_ignored() {
        let page = page("[a](a.md) `[b](b.md)` ![c](c.png#d)\n```sh\n[e](e.md)\n```\n");
        let links: Vec<_> = page.links().into_iter().map(|link| link.text).collect();
        assert_eq!(links, ["a.md", "c.png#d"]);
    }

    #[test]
    fn table_is_read_below_its_heading() {
        let page =
            page("## One\n|a|\n|-|\n|1|\n## Two\ntext\n\n| a | b |\n|---|---|\n| `x` | y |\n");
        let table = page.table("Two");
        assert_eq!(table.len(), 1);
        assert_eq!(code_of(&table[0]["a"]), Some("x"));
        assert_eq!(table[0]["b"], "y");
    }

    #[test]
    fn inline_code_and_blocks_are_told_apart() {
        let page = page("`a` and ``b ` c``\n```sh\nmake `d`\n```\n");
        let code: Vec<_> = page.inline_code().into_iter().map(|it| it.text).collect();
        assert_eq!(code, ["a", "b ` c"]);
        assert_eq!(page.code_lines("sh")[0].text, "make `d`");
    }
}
