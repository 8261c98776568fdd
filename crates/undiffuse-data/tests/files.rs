//! Files as promised: whole or not at all, whatever interrupts; nothing but regular files, and none outside.

use std::fs;
use std::path::Path;

use undiffuse_data::files::faults::{Fault, Then, during};
use undiffuse_data::files::{self, FileError};

const PARTS: [&str; 2] = ["a", "inner"];

/// A folder of two files that belong together.
fn save(path: &Path, text: &str) -> Result<(), FileError> {
    files::write_folder(path, &PARTS, |folder| {
        files::create_folder(&folder.join("inner"))?;
        files::write(&folder.join("a"), text.as_bytes())?;
        files::write(&folder.join("inner/b"), text.as_bytes())
    })
}

fn load(path: &Path) -> Option<String> {
    let [a, b] = files::steady(path, |folder| {
        [folder.join("a"), folder.join("inner/b")].map(|path| fs::read_to_string(path).ok())
    });
    assert_eq!(a, b, "old and new are mixed");
    a
}

/// A folder in memory where there is such a place: thousands of flushes wait for no disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_the_old_or_the_new_one_wherever_saving_ends() {
    let none = |exchange| Fault { at: usize::MAX, then: Then::Die, exchange };
    let mut points = 0;
    for (exchange, first, then) in [true, false]
        .into_iter()
        .flat_map(|e| [true, false].map(|f| (e, f)))
        .flat_map(|(e, f)| [Then::Die, Then::Fail].map(|then| (e, f, then)))
    {
        let prepare = |root: &Path| {
            // A user's own folders have such names.
            fs::create_dir_all(root.join("model.old")).unwrap();
            fs::write(root.join("model.old/kept"), "kept").unwrap();
            if !first {
                save(&root.join("model"), "old").unwrap();
            }
            root.join("model")
        };
        let probe = scratch();
        let path = prepare(probe.path());
        let (saved, count) = during(none(exchange), || save(&path, "new"));
        saved.unwrap();
        assert_eq!(names(probe.path()), ["model", "model.old"], "nothing is left behind");
        for at in 0..count {
            let root = scratch();
            let path = prepare(root.path());
            let (result, _) = during(Fault { at, then, exchange }, || save(&path, "new"));
            let place = format!("exchange {exchange}, first {first}, {then:?} at {at} of {count}");
            match load(&path).as_deref() {
                Some("new") => {}
                Some("old") => assert!(!first && result.is_err(), "{place}"),
                None => assert!(first && result.is_err(), "{place}"),
                other => panic!("{other:?} at {place}"),
            }
            let strange = names(root.path());
            let strange = strange.iter().filter(|n| !["model", "model.old"].contains(&n.as_str()));
            assert!(strange.clone().all(|n| files::is_temporary(n)), "{strange:?} at {place}");
            save(&path, "newest").unwrap();
            assert_eq!(load(&path).as_deref(), Some("newest"), "{place}");
            assert_eq!(fs::read_to_string(root.path().join("model.old/kept")).unwrap(), "kept");
            points += 1;
        }
    }
    assert!(points >= 100, "{points} points");
}

#[test]
fn a_file_is_the_old_or_the_new_one_wherever_writing_ends() {
    let new = "new ".repeat(5000);
    for then in [Then::Die, Then::Fail] {
        for first in [true, false] {
            let write =
                |path: &Path| files::write_with(path, |file| (0..20).try_for_each(|_| file.write_all(new.as_bytes())));
            let count = {
                let root = scratch();
                let (result, count) =
                    during(Fault { at: usize::MAX, then, exchange: true }, || write(&root.path().join("f")));
                result.unwrap();
                count
            };
            assert!(count > 20, "{count}");
            for at in 0..count {
                let root = scratch();
                let path = root.path().join("f");
                if !first {
                    fs::write(&path, "old").unwrap();
                }
                let (result, _) = during(Fault { at, then, exchange: true }, || write(&path));
                assert!(result.is_err(), "{then:?} at {at}");
                match fs::read_to_string(&path).ok() {
                    None => assert!(first),
                    Some(text) if text == "old" => assert!(!first),
                    Some(text) => assert_eq!(text, new.repeat(20), "{then:?} at {at}"),
                }
                let left = names(root.path()).into_iter().filter(|n| n != "f").collect::<Vec<_>>();
                assert!(left.iter().all(|n| then == Then::Die && files::is_temporary(n)), "{left:?}");
                write(&path).unwrap();
                assert_eq!(names(root.path()), ["f"]);
            }
        }
    }
}

/// Between the two renames of a system that cannot exchange names, the old folder is found, and saving goes on from it.
#[test]
fn a_folder_between_two_renames_is_found() {
    let root = scratch();
    let path = root.path().join("model");
    save(&path, "old").unwrap();
    fs::rename(&path, root.path().join(".model.undiffuse-old")).unwrap();
    assert_eq!(files::current(&path), root.path().join(".model.undiffuse-old"));
    assert_eq!(load(&path).as_deref(), Some("old"));
    save(&path, "new").unwrap();
    assert_eq!((files::current(&path), load(&path).as_deref()), (path.clone(), Some("new")));
    assert_eq!(names(root.path()), ["model"]);
}

#[test]
fn readers_never_see_old_beside_new() {
    let root = scratch();
    let path = root.path().join("model");
    for exchange in [true, false] {
        save(&path, "0").unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let fault = Fault { at: usize::MAX, then: Then::Fail, exchange };
                during(fault, || (1..40).for_each(|k| save(&path, &k.to_string()).unwrap()))
            });
            let mut last = 0;
            while !writer.is_finished() {
                let seen: i32 = load(&path).expect("there is always one").parse().unwrap();
                assert!(seen >= last);
                last = seen;
            }
        });
    }
}

#[test]
fn what_is_not_ours_is_not_replaced() {
    let root = scratch();
    let path = root.path().join("photos");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("holiday.jpg"), "x").unwrap();
    let error = save(&path, "new").unwrap_err().to_string();
    assert!(error.contains("photos") && error.contains("holiday.jpg"), "{error}");
    assert_eq!(names(root.path()), ["photos"]);
    fs::rename(path.join("holiday.jpg"), path.join(".DS_Store")).unwrap();
    save(&path, "new").unwrap();
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(save(&file, "new").unwrap_err().to_string().contains("it is a file"));
    assert!(files::write(&path, b"x").unwrap_err().to_string().contains("it is a folder"));
    assert_eq!(load(&path).as_deref(), Some("new"));
}

#[test]
fn long_names_and_odd_ones_can_be_written() {
    let root = scratch();
    let long = ["ä".repeat(127), format!("{}b", "ä".repeat(126)), "x".repeat(255), "a b".into(), ".hidden".into()];
    for name in &long {
        files::write(&root.path().join(name), name.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(root.path().join(name)).unwrap(), *name);
        fs::remove_file(root.path().join(name)).unwrap();
        save(&root.path().join(name), name).unwrap();
        assert_eq!(load(&root.path().join(name)).as_ref(), Some(name));
    }
    assert_eq!(names(root.path()).len(), long.len());
}

#[test]
fn limits_hold_and_folders_are_no_files() {
    let root = scratch();
    let path = root.path().join("f");
    fs::write(&path, "12345").unwrap();
    assert_eq!(files::read(&path, 5).unwrap(), b"12345");
    assert!(files::read(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
    assert!(files::read(&path, u64::MAX).is_ok());
    assert!(files::open(root.path()).unwrap_err().to_string().contains("it is a folder"));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(files::read_text(&path).unwrap_err().to_string().contains("UTF-8"));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::symlink;

    fn pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn pipes_do_not_hold_anybody_up() {
        let root = scratch();
        let path = root.path().join("pipe");
        pipe(&path);
        for error in [
            files::open(&path).unwrap_err(),
            files::append(&path).unwrap_err(),
            files::open_inside(root.path(), "pipe".as_ref()).unwrap_err(),
            files::read(Path::new("/dev/zero"), 10).unwrap_err(),
        ] {
            assert!(error.to_string().contains("pipe or a device"), "{error}");
        }
        files::steady(&path, |_| ());
    }

    #[test]
    fn what_is_written_to_a_device_or_a_pipe_goes_into_it() {
        let root = scratch();
        let path = root.path().join("pipe");
        pipe(&path);
        let reader = std::thread::spawn({
            let path = path.clone();
            move || fs::read_to_string(path).unwrap()
        });
        files::write(&path, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert_eq!(names(root.path()), ["pipe"]);
        // Whoever is root must not lose this one.
        files::write(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn links_are_followed_by_their_owner_and_not_into_or_out_of_strangers_folders() {
        let root = scratch();
        let (own, far) = (root.path().join("run"), root.path().join("far"));
        fs::create_dir_all(own.join("samples")).unwrap();
        fs::create_dir(&far).unwrap();
        fs::write(far.join("secret"), "secret").unwrap();
        fs::write(own.join("samples/1"), "one").unwrap();
        symlink(far.join("secret"), own.join("log")).unwrap();
        symlink(&far, own.join("linked")).unwrap();
        let inside = |name: &str| {
            let file = files::open_inside(&own, name.as_ref())?;
            files::read_all(file, 100).map_err(files::at("read", &own))
        };
        assert_eq!(inside("samples/1").unwrap(), b"one");
        assert_eq!(inside("./samples/1").unwrap_err().to_string().matches("out of its folder").count(), 1);
        for name in ["log", "linked/secret", "../far/secret", "samples/../log", "/etc/hostname", "samples", "nothing"] {
            assert!(inside(name).is_err(), "{name}");
        }
        assert!(files::append(&own.join("log")).unwrap_err().to_string().contains("link"));
        // A run that is itself reached by a link is its owner's choice.
        let link = root.path().join("link");
        symlink(&own, &link).unwrap();
        assert!(files::open_inside(&link, "samples/1".as_ref()).is_ok());
        assert_eq!(files::read_text(&own.join("log")).unwrap(), "secret");
    }

    #[test]
    fn links_stay_and_what_they_lead_to_is_replaced() {
        let root = scratch();
        let (near, far) = (root.path().join("near"), root.path().join("far"));
        fs::create_dir_all(&near).unwrap();
        fs::create_dir_all(&far).unwrap();
        fs::write(far.join("f"), "old").unwrap();
        symlink(far.join("f"), near.join("f")).unwrap();
        save(&far.join("model"), "old").unwrap();
        symlink(far.join("model"), near.join("model")).unwrap();
        files::write(&near.join("f"), b"new").unwrap();
        save(&near.join("model"), "new").unwrap();
        assert!(near.join("f").is_symlink() && near.join("model").is_symlink());
        assert_eq!(fs::read_to_string(far.join("f")).unwrap(), "new");
        assert_eq!(load(&far.join("model")).as_deref(), Some("new"));
        fs::rename(far.join("model"), far.join(".model.undiffuse-old")).unwrap();
        assert_eq!(
            (names(&near), names(&far)),
            (vec!["f".into(), "model".into()], vec![".model.undiffuse-old".into(), "f".into()])
        );
    }
}
