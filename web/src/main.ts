import { mount } from 'svelte';
import './tokens.css';
import './base.css';
import './markdown/markdown.css';
import AppView from './ui/App.svelte';
import { applyTheme, ui } from './state/ui.svelte';

applyTheme(ui.theme);
const target = document.getElementById('app');
if (target) mount(AppView, { target });
