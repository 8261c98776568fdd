//! Samplers and schedulers by the names that AUTOMATIC1111's web interface gives them.

/// A name there, and ours.
pub struct Name {
    /// As the interface shows it.
    pub label: &'static str,
    /// Other words for it, k-diffusion's among them.
    pub aliases: &'static [&'static str],
    /// Our word.
    pub tag: &'static str,
}

const fn name(label: &'static str, aliases: &'static [&'static str], tag: &'static str) -> Name {
    Name { label, aliases, tag }
}

/// Solvers.
pub const SAMPLERS: &[Name] = &[
    name("DPM++ 2M", &["k_dpmpp_2m"], "dpmpp-2m"),
    name("DPM++ SDE", &["k_dpmpp_sde"], "dpmpp-sde"),
    name("DPM++ 2M SDE", &["k_dpmpp_2m_sde"], "dpmpp-2m-sde"),
    name("DPM++ 2M SDE Heun", &["k_dpmpp_2m_sde_heun"], "dpmpp-2m-sde:correction=heun"),
    name("DPM++ 2S a", &["k_dpmpp_2s_a"], "dpmpp-2s-ancestral"),
    name("DPM++ 3M SDE", &["k_dpmpp_3m_sde"], "dpmpp-3m-sde"),
    name("Euler a", &["k_euler_a", "k_euler_ancestral"], "euler-ancestral"),
    name("Euler", &["k_euler"], "euler"),
    name("LMS", &["k_lms"], "lms"),
    name("Heun", &["k_heun"], "heun"),
    name("DPM2", &["k_dpm_2"], "dpm2"),
    name("DPM2 a", &["k_dpm_2_a", "k_dpm_2_ancestral"], "dpm2-ancestral"),
    name("Restart", &["restart"], "restart"),
    name("DDIM", &[], "ddim"),
    name("PLMS", &[], "plms"),
    name("UniPC", &[], "unipc"),
    name("LCM", &["k_lcm"], "lcm"),
    name("DDPM", &[], "ddpm"),
];

/// Spacings. `Automatic` is the model's own and not in the table.
pub const SCHEDULERS: &[Name] = &[
    name("Uniform", &[], "linspace"),
    name("Karras", &[], "karras"),
    name("Exponential", &[], "exponential"),
    name("SGM Uniform", &["sgm_uniform", "SGMUniform"], "trailing"),
    name("Align Your Steps", &["align_your_steps"], "optimal"),
    name("Normal", &["normal"], "linspace"),
    name("Simple", &["simple"], "trailing"),
    name("DDIM", &["ddim", "ddim_uniform"], "leading"),
    name("Beta", &[], "beta"),
];

/// Our words for a sampler and a scheduler; `None` is the model's own. Older names end in the scheduler's: `DPM++ 2M Karras`.
/// Words that are not in the tables are handed on: they may be our own.
pub fn ours(sampler: Option<&str>, scheduler: Option<&str>) -> (Option<String>, Option<String>) {
    let given = |text: Option<&'_ str>| {
        let text = text.map(str::trim).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("automatic"));
        text.map(str::to_owned)
    };
    let (sampler, scheduler) = (given(sampler), given(scheduler));
    let find = |table: &[Name], word: &str| {
        let is = |known: &&str| known.eq_ignore_ascii_case(word);
        table.iter().find(|name| is(&name.label) || name.aliases.iter().any(&is)).map(|name| name.tag.to_owned())
    };
    let spacing = scheduler.map(|word| find(SCHEDULERS, &word).unwrap_or(word));
    let Some(sampler) = sampler else { return (None, spacing) };
    if let Some(tag) = find(SAMPLERS, &sampler) {
        return (Some(tag), spacing);
    }
    let old = sampler
        .rsplit_once(' ')
        .and_then(|(solver, spacing)| Some((find(SAMPLERS, solver)?, find(SCHEDULERS, spacing)?)));
    match old {
        Some((solver, old)) => (Some(solver), spacing.or(Some(old))),
        None => (Some(sampler), spacing),
    }
}

/// The names there of our words for a sampler and a scheduler; words that have none stay as they are.
pub fn theirs(solver: &str, spacing: &str) -> (String, String) {
    let find = |table: &[Name], word: &str| {
        table.iter().find(|name| name.tag == word).map_or_else(|| word.to_owned(), |name| name.label.to_owned())
    };
    (find(SAMPLERS, solver), find(SCHEDULERS, spacing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    #[test]
    fn every_name_means_a_part_that_there_is() {
        for name in SAMPLERS {
            words::solver(name.tag).unwrap_or_else(|e| panic!("{}: {}", name.label, e.detail));
        }
        for name in SCHEDULERS {
            words::spacing(name.tag).unwrap_or_else(|e| panic!("{}: {}", name.label, e.detail));
        }
    }

    #[test]
    fn names_are_read_as_the_interface_writes_them() {
        let pair = |sampler, scheduler| {
            let (solver, spacing) = ours(Some(sampler), Some(scheduler));
            (solver.unwrap_or_default(), spacing.unwrap_or_default())
        };
        let of = |solver: &str, spacing: &str| (solver.to_owned(), spacing.to_owned());
        assert_eq!(pair("Euler a", "Automatic"), of("euler-ancestral", ""));
        assert_eq!(pair("euler A", "karras"), of("euler-ancestral", "karras"));
        assert_eq!(pair("DPM++ 2M Karras", ""), of("dpmpp-2m", "karras"));
        assert_eq!(pair("DPM++ 2M Karras", "Exponential"), of("dpmpp-2m", "exponential"));
        assert_eq!(pair("k_dpmpp_2m", "sgm_uniform"), of("dpmpp-2m", "trailing"));
        assert_eq!(pair("ddim:eta=0.5", "log-snr"), of("ddim:eta=0.5", "log-snr"));
        assert_eq!(pair("Nothing Karras", ""), of("Nothing Karras", ""));
        assert_eq!(ours(None, None), (None, None));
        assert_eq!(theirs("euler-ancestral", "karras"), ("Euler a".into(), "Karras".into()));
        for (solver, spacing) in
            [("dpmpp-2m-sde:correction=heun", "beta"), ("ddim:eta=0.5", "log-snr"), ("lcm", "linspace")]
        {
            let (sampler, scheduler) = theirs(solver, spacing);
            assert_eq!(ours(Some(&sampler), Some(&scheduler)), (Some(solver.into()), Some(spacing.into())));
        }
    }
}
