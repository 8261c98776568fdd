//! Pictures that a program already holds.

use super::{Entry, Input, Payload, Sink, Source};
use crate::{DataError, Image};

/// A source over entries in memory, for programs that make their own pictures and for tests.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    entries: Vec<Entry>,
    classes: Option<Vec<String>>,
}

impl Memory {
    /// A source that gives these entries.
    pub fn new(entries: Vec<Entry>) -> Memory {
        Memory { entries, classes: None }
    }

    /// A source over pictures, named by their index; `labels`, when not empty, holds one class name for each.
    pub fn from_images(images: Vec<Image>, labels: &[&str]) -> Memory {
        let entry = |(i, image): (usize, Image)| Entry {
            name: format!("{i:05}"),
            payload: Payload::Pixels(image, "memory"),
            label: labels.get(i).map(|l| l.to_string()),
            captions: Vec::new(),
        };
        Memory::new(images.into_iter().enumerate().map(entry).collect())
    }

    /// Fixes the order of the classes.
    pub fn with_classes(mut self, classes: Vec<String>) -> Memory {
        self.classes = Some(classes);
        self
    }
}

impl Source for Memory {
    fn visit(&mut self, sink: &mut Sink) -> Result<(), DataError> {
        for entry in &self.entries {
            if sink(entry.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn inputs(&self) -> &[Input] {
        &[]
    }

    fn count(&self) -> Option<usize> {
        Some(self.entries.len())
    }

    fn classes(&self) -> Option<Vec<String>> {
        self.classes.clone()
    }
}
