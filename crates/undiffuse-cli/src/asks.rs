//! What can be asked of a model, as options: one for each field of the registry.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use undiffuse::condition::{Ask, Conditioner, Field};

use crate::sampling::refused;

/// `--class` and the like: what was given, in the order of the registry.
#[derive(Clone, Debug, Default)]
pub struct Asking(Vec<(&'static Field, String)>);

impl Asking {
    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What takes turns.
    ///
    /// # Errors
    /// An option that the model does not take, a word that means nothing to it.
    pub fn asks(&self, conditioner: &Conditioner) -> anyhow::Result<Vec<Ask>> {
        let mut asks = Vec::new();
        for (field, text) in &self.0 {
            conditioner.takes(field).map_err(refused)?;
            asks.extend(conditioner.list(text).map_err(refused)?);
        }
        Ok(asks)
    }
}

impl clap::Args for Asking {
    fn augment_args(command: Command) -> Command {
        let option = |field: &Field| {
            let long = format!("{}\n\n{}", field.help, field.more);
            let option = Arg::new(field.name).long(field.name).action(ArgAction::Append).allow_hyphen_values(true);
            option.value_name(field.value).help(field.help).long_help(long)
        };
        command.args(Conditioner::FIELDS.iter().map(|field| option(field)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Asking {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |field: &'static Field| {
            let texts = matches.get_many::<String>(field.name).into_iter().flatten();
            texts.map(move |text| (field, text.clone()))
        };
        Ok(Self(Conditioner::FIELDS.iter().flat_map(|field| given(field)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
