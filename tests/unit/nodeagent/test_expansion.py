"""`$(VAR)` in env, command and args (E2): Kubernetes' own table of cases, in spirit."""

import pytest

from nodeagent.pods.environment import expand

VALUES = {"VAR_A": "A", "VAR_B": "B", "VAR_C": "C", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": "", "with-dash.x": "D"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$(VAR_A)", "A"),
        ("$(VAR_A)$(VAR_B)", "AB"),
        ("___$(VAR_B)___", "___B___"),
        ("___$(VAR_C)", "___C"),
        ("$(VAR_A)_1", "A_1"),
        ("foo$(VAR_A)bar$(VAR_B)", "fooAbarB"),
        ("$(VAR_EMPTY)", ""),
        ("foo$(VAR_EMPTY)bar", "foobar"),
        ("$(with-dash.x)", "D"),
        # once only: what is put in is not looked at again
        ("$(VAR_REF)", "$(VAR_A)"),
        ("%%$(VAR_REF)--$(VAR_REF)%%", "%%$(VAR_A)--$(VAR_A)%%"),
        # unknown stays as it is
        ("$(VAR_DNE)", "$(VAR_DNE)"),
        ("foo$(VAR_DNE)bar", "foo$(VAR_DNE)bar"),
        ("foo$(VAR_)", "foo$(VAR_)"),
        ("$()", "$()"),
        ("$( )", "$( )"),
        ("$(var_a)", "$(var_a)"),
        ("$(VAR_A )", "$(VAR_A )"),
        # $$ is $
        ("$$", "$"),
        ("$$$$", "$$"),
        ("$$(VAR_A)", "$(VAR_A)"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$$$$$(VAR_A)", "$$A"),
        ("f000-$$VAR_A", "f000-$VAR_A"),
        ("foo\\$(VAR_C)bar", "foo\\Cbar"),
        ("foo\\\\$(VAR_C)bar", "foo\\\\Cbar"),
        ("foo$$$(VAR_C)bar", "foo$Cbar"),
        # what is no reference is untouched
        ("$VAR_A", "$VAR_A"),
        ("$", "$"),
        ("foo$", "foo$"),
        ("$ (VAR_A)", "$ (VAR_A)"),
        ("${VAR_A}", "${VAR_A}"),
        ("(VAR_A)", "(VAR_A)"),
        ("VAR_A)", "VAR_A)"),
        ("$?", "$?"),
        ("$(", "$("),
        ("$(VAR_A", "$(VAR_A"),
        ("$((VAR_A)", "$((VAR_A)"),
        ("$(VAR_A))", "A)"),
        ("$$(", "$("),
        ("$(VAR_A$(VAR_B)", "$(VAR_A$(VAR_B)"),
        ("--$(VAR_A)--$(", "--A--$("),
        ("\n$(VAR_A)\n", "\nA\n"),
    ],
)
def test_expands(text: str, expanded: str) -> None:
    assert expand(text, VALUES) == expanded
